# worker: waits for pid $1, then takes rows from /tmp/w/q5.list, one at a time
export SEGLIB_DATA=/work/shared/data PYTHONPATH=/tmp/w/run5 OMP_NUM_THREADS=1
cd /tmp/w/run5
while kill -0 $1 2>/dev/null; do sleep 1; done
while true; do
  r=$(flock /tmp/w/q5.lock bash -c 'head -1 /tmp/w/q5.list; sed -i 1d /tmp/w/q5.list')
  [ -z "$r" ] && { sleep 5; continue; }
  [ "$r" = stop ] && break
  n=$(echo "$r" | tr ' /' '__')
  /tmp/w/venv/bin/python -W ignore -m seglib $r --out /tmp/w/out5/results > "/tmp/w/out5/$n.log" 2>&1
  echo "$r $(date +%T) $(grep '^mean_iou\|rror' "/tmp/w/out5/$n.log" | tail -1)" >> /tmp/w/out5/q5.log
done
