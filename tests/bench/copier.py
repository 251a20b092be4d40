"""The least that a processor can do: copy bytes. What the others are measured against."""

import os

while block := os.read(0, 1 << 18):
    while block:
        block = block[os.write(1, block) :]
