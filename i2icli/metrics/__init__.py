"""Numbers of pictures: FID, KID, LPIPS, segmentation scores, alarms. Knows no checkpoint."""
