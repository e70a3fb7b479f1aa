"""Speed and memory as ratios in one run; nothing here asserts a time."""
