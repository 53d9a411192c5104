"""What runs on the device: training and scoring. The only package that imports torch, torchvision and timm."""
