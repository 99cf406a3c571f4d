R=/tmp/w/out5/results/scribbles
(while [ ! -f $R/ours-pretraining.quick.seed0.embedded+COCO.json ]; do sleep 2; done; sleep 5; echo "run scribbles ours" >> /tmp/w/q5.list) &
(while [ ! -f $R/report.quick.seed0.scribbles.json ]; do sleep 2; done; sleep 5; echo "sweep scribbles ablation" >> /tmp/w/q5.list) &
wait
