import sys,re
root=sys.argv[1]; sys.path.insert(0,root)
from seglib import results
p=root+'/README.md'; s=open(p).read()
for report,title in (('denoising','Denoising'),('face_masks','Face masks'),('neural_segmentello','NeuralSegmentello'),('scribbles','Scribbles')):
    t=results.scoreboard(report, ("mean_iou","iou_background","iou") if 0 else None)
    s=re.sub(r'(### %s\n(?:(?!\n\| row \|)[\s\S])*?\n)\| row \|[\s\S]*?(?=\n\n)'%title,lambda m:m[1]+t,s,count=1)
open(p,"w").write(s)
