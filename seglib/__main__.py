"""The command line: rows, run, sweep, predict, brush, download, build, notebooks, readme, reproduce, address."""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings

try:
    from .data.images import DataWarning
    from .reports import find_report, reports
    from .reports.keys import SCALES, ConfigError
    from .rows import check_report, load_row, load_rows, parse_override
except ModuleNotFoundError as missing:
    sys.exit(f"seglib: {missing}; in the course's folder, `make notebooks` installs all")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="seglib", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    rows = commands.add_parser("rows", help="list every row: parameters, reported and measured numbers")
    rows.add_argument("report", nargs="?", help="one report only")
    rows.add_argument("--json", action="store_true", help="as JSON")

    measuring = argparse.ArgumentParser(add_help=False)  # what `run` and `sweep` have in common
    measuring.add_argument("report")
    measuring.add_argument("--scale", choices=SCALES, default="quick")
    measuring.add_argument("--data", help="folder with the real data")
    measuring.add_argument("--seed", type=int, default=0)
    measuring.add_argument("--out", help="folder of the result files (default: results)")

    run = commands.add_parser("run", parents=[measuring], help="train and measure a row, and write its result file")
    run.add_argument("row")
    run.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a key of the row")
    run.add_argument("--fresh", action="store_true", help="start again, even where a checkpoint could be taken up")

    sweep = commands.add_parser(
        "sweep", parents=[measuring], help="run every combination of a sweep that has no result yet"
    )
    sweep.add_argument("sweep")
    sweep.add_argument("--backend", default="joblib", help="joblib: this machine; ray: the cluster of RAY_ADDRESS")
    sweep.add_argument("--jobs", type=int, default=1, help="combinations at once, with joblib")
    sweep.add_argument("--gpus", type=float, default=0, help="GPUs for each, with ray; such as 0.5 to share one")

    predict = commands.add_parser("predict", help="write the masks that a row's network finds in images")
    predict.add_argument("report")
    predict.add_argument("row")
    predict.add_argument("images", nargs="+")
    predict.add_argument("--out", required=True, help="folder for the masks")
    predict.add_argument("--weights", nargs="+", help="weights files; several are an ensemble (default: the row's own)")
    predict.add_argument("--hints", help="folder with what a user drew on each image, under the same stem")
    predict.add_argument("--submission", metavar="FILE", help="all class labels in one CSV file as well (mars_terrain)")

    brush = commands.add_parser(
        "brush",
        help="masks from strokes, in a browser",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Draw over an object in a photograph, and a small network finds its mask; further strokes correct it.\n"
            "With a folder of photographs: opens a page on this machine and writes each mask as PNG, and all of\n"
            "them as masks.json in COCO's format, into the folder --out; photographs are never changed.\n"
            "With --page: writes that page into a folder, to be put on any web server; visitors open photographs\n"
            "of their own and save the masks. In both, the network runs in the browser and nothing leaves it."
        ),
    )
    brush.add_argument("photographs", nargs="?", help="folder of photographs: JPEG, PNG or WebP")
    brush.add_argument("--out", help="folder for the masks; another than that of the photographs")
    brush.add_argument("--port", type=int, default=0, help="of the page on this machine (default: one that is free)")
    brush.add_argument("--no-browser", action="store_true", help="only print the page's address")
    brush.add_argument("--page", metavar="FOLDER", help="write the page into this folder instead")

    download = commands.add_parser("download", help="fetch a published data set; goes on where a run before was cut")
    download.add_argument("name", help="coco-val2017 or pascal-voc-2012")
    download.add_argument("--data", metavar="DIR", help="folder for the real data (default: SEGLIB_DATA)")

    build = commands.add_parser("build", help="make a report's real data from a data set that is published")
    build.add_argument("report")
    build.add_argument(
        "source", help="scribbles: the folder VOCdevkit/VOC2012; mars_terrain: ai4mars-dataset-merged-0.1"
    )
    build.add_argument("--masks", help="scribbles: folder of class masks (default: SegmentationClass of the source)")
    build.add_argument(
        "--out",
        required=True,
        help="a new folder such as $SEGLIB_DATA/scribbles/train, or a new file $SEGLIB_DATA/mars/mars_for_students.npz",
    )
    build.add_argument("--seed", type=int, default=0, help="scribbles: of the strokes")

    notebooks = commands.add_parser("notebooks", help="run the notebooks into a folder, as notebook and as HTML")
    notebooks.add_argument("paths", nargs="*", help="notebooks (default: all)")
    notebooks.add_argument("--out", default="_build")
    notebooks.add_argument("--in-place", action="store_true", help="keep the outputs in the notebooks themselves")

    commands.add_parser("readme", help="write the recorded results into the README and the notebooks that quote them")

    reproduce = commands.add_parser("reproduce", help="run every row that has no result yet")
    reproduce.add_argument("reports", nargs="*", help="reports (default: all)")
    reproduce.add_argument("--scale", choices=SCALES, default="full")
    reproduce.add_argument("--seed", type=int, default=0)

    address = commands.add_parser("address", help="write the repository's address into badges and set-up cells")
    address.add_argument("url", metavar="https://github.com/OWNER/REPOSITORY")

    options = parser.parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal may not know × and −
            stream.reconfigure(errors="replace")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", DataWarning)
            warnings.showwarning = _show_warning
            return COMMANDS[options.command](options)
    except KeyboardInterrupt as stop:
        goes_on = {"download": "; the same command goes on where it stopped", "brush": ""}
        more = goes_on.get(options.command, "; the same command goes on after the last whole epoch")
        print(str(stop) or f"interrupted{more}", file=sys.stderr)
        return 130
    except ModuleNotFoundError as missing:
        print(f"seglib: {missing}", file=sys.stderr)
        return 1
    except (ConfigError, OSError, ValueError, RuntimeError) as error:
        print(f"seglib {options.command}: {error}", file=sys.stderr)
        return 1


def _show_warning(message, category, filename, lineno, file=None, line=None) -> None:
    """As Python does, but what is said of a user's data in a line of its own, without the place in the program."""
    where = "" if issubclass(category, DataWarning) else f"{filename}:{lineno}: {category.__name__}: "
    print(f"{where}{message}", file=file or sys.stderr)


def _rows(options) -> int:
    from . import experiment, results

    chosen = [options.report] if options.report else reports()
    if options.json:
        print(json.dumps([entry for report in chosen for entry in experiment.rows_table(report)], indent=1))
        return 0
    for report in chosen:
        print(f"{report}\n{results.scoreboard(report)}\n")
    return 0


def _run(options) -> int:
    from accelerate import PartialState

    from . import experiment
    from .course.notebook import print_epoch

    outcome = experiment.run(
        options.report,
        options.row,
        scale=options.scale,
        seed=options.seed,
        data=options.data,
        overrides=dict(map(parse_override, options.set)),
        out=options.out,
        fresh=options.fresh,
        on_epoch=print_epoch,
    )
    print("  ".join(f"{name} {value:.4f}" for name, value in outcome.result["metrics"].items()))
    print(f"written to {outcome.path}")
    PartialState().destroy_process_group()  # of several processes, as PyTorch asks before they end
    return 0


def _sweep(options) -> int:
    from .sweep import KEPT, run_sweep

    table = run_sweep(
        options.report,
        options.sweep,
        scale=options.scale,
        seed=options.seed,
        data=options.data,
        out=options.out,
        backend=options.backend,
        jobs=options.jobs,
        gpus=options.gpus,
    )
    for line in table:
        labels = [f"{axis} {label}" for axis, label in line.items() if axis not in KEPT]
        print("  ".join(labels + [f"{name} {value:.4f}" for name, value in line["metrics"].items()]))
    return 0


def _predict(options) -> int:
    from .prediction import predict_files

    row = load_row(options.report, options.row)
    failed = predict_files(row, options.images, options.out, options.weights, options.hints, options.submission)
    return 1 if failed else 0


def _brush(options) -> int:
    import webbrowser

    from .brush import page, server

    if bool(options.page) == bool(options.photographs) or bool(options.out) != bool(options.photographs):
        raise ValueError("expected a folder of photographs and --out for their masks, or --page alone")
    if options.page:
        folder = page.write_page(options.page)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        print(f"written to {folder}, {size / 1e6:.1f} MB; try it: python -m http.server --directory {folder}")
        return 0
    if not 0 <= options.port < 2**16:
        raise ValueError(f"--port: expected a number below 65536, got {options.port}")
    folder = server.Folder(options.photographs, options.out)
    with server.Server({}, folder, options.port) as one:
        print("preparing the page …", flush=True)
        one.page = page.content(list(folder.files))
        server.serve(one, None if options.no_browser else webbrowser.open)
    return 0


def _download(options) -> int:
    from .download import download

    download(options.name, options.data)
    return 0


def _build(options) -> int:
    check_report(options.report)
    print(find_report(options.report).build(options.source, options.out, options.masks, options.seed))
    return 0


def _notebooks(options) -> int:
    from .course.notebook import run_notebooks

    return run_notebooks(options.paths, options.out, in_place=options.in_place)


def _readme(options) -> int:
    from .course.pages import update
    from .files import root

    if root() is None:
        raise FileNotFoundError("seglib is not run from the course's folder, whose files quote results")
    print("changed: " + (", ".join(path.name for path in update(root())) or "nothing"))
    return 0


def _reproduce(options) -> int:
    from . import experiment, results
    from .course.notebook import print_epoch

    scale, seed = options.scale, options.seed
    for report in options.reports or reports():
        for row in load_rows(report, scale):
            data = experiment.data_source(row, os.environ.get("SEGLIB_DATA"))
            path = results.result_path(report, row.name, scale, seed, {}, data=data)
            if path.is_file():
                try:
                    json.loads(path.read_text(encoding="utf-8"))
                    print(f"{report} {row.name}: done already")
                    continue
                except ValueError:
                    print(f"{path} was cut short, so again:")
            print(f"{report} {row.name}: {scale} scale, seed {seed}", flush=True)
            experiment.run(report, row.name, scale=scale, seed=seed, on_epoch=print_epoch)
    return 0


def _address(options) -> int:
    from .course.notebook import set_address

    print("changed: " + (", ".join(path.name for path in set_address(options.url)) or "nothing"))
    return 0


COMMANDS = {
    "rows": _rows,
    "run": _run,
    "sweep": _sweep,
    "predict": _predict,
    "brush": _brush,
    "download": _download,
    "build": _build,
    "notebooks": _notebooks,
    "readme": _readme,
    "reproduce": _reproduce,
    "address": _address,
}

if __name__ == "__main__":
    sys.exit(main())
