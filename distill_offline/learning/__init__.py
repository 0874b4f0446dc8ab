"""What every loop that changes weights shares: the device, the optimizer's parts, checkpoints, groups of processes."""
