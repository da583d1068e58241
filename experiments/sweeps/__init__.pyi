from .pools import on_workers as on_workers
from .running import plan as plan, run_points as run_points
from .store import read_rows as read_rows
from .sweep import Sweep as Sweep, load_sweep as load_sweep, points_of as points_of
