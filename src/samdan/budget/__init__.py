"""What a stage will take, by arithmetic: parameters, tokens, memory by part, seconds, disk, cost.

Nothing here opens a file or knows a device: the shell hands in counts, rates and sizes.
"""

from samdan.budget.devices import DEVICES, Device, device_named
from samdan.budget.disk import Disk, disk_of
from samdan.budget.memory import Memory, Setting, memory, micro_batch_tokens, ways_that_fit
from samdan.budget.positions import position_remarks
from samdan.budget.remarks import Context, remarks
from samdan.budget.seconds import Rates, forward_flops, range_on, seconds_of, train_flops
from samdan.budget.shapes import GIB, KNOWN_SHAPES, Shape, shape_from_config
from samdan.budget.tokens import Amounts, SourceAmounts, estimated, shares, steps_of

__all__ = [
    "DEVICES", "GIB", "KNOWN_SHAPES", "Amounts", "Context", "Device", "Disk", "Memory", "Rates",
    "Setting", "Shape", "SourceAmounts", "device_named", "disk_of", "estimated", "forward_flops",
    "memory", "micro_batch_tokens", "position_remarks", "range_on", "remarks",
    "seconds_of", "shape_from_config", "shares", "steps_of", "train_flops", "ways_that_fit",
]  # fmt: skip
