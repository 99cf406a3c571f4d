"""The networks: `unet.UNet`, put together from the parts in `blocks`."""
