"""The speed of attention under a mask, beside that of other libraries, in one run."""

from attnmask.timing.interleaved import Row as Row
from attnmask.timing.interleaved import compare as compare
from attnmask.timing.problem import Problem as Problem
from attnmask.timing.problem import problem_from_plan as problem_from_plan
from attnmask.timing.timing_report import problems_from_mask as problems_from_mask
from attnmask.timing.timing_report import save_plot as save_plot
from attnmask.timing.timing_report import table_of as table_of
from attnmask.timing.timing_report import times_of as times_of
