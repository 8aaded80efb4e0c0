"""Land-cover segmentation with frozen encoders: a linear head, UPerNet, and plain baselines.

data.py       tiles with masks, one split after another
heads.py      what reads frozen tokens (or pixels) and answers for every pixel
train.py      features once, then heads on them
benchmark.py  all of it on one data set, as rows; mIoU with an interval
landcover.py  the sample's task
"""
