"""How fast attention is under a mask, beside what people would use instead: in one run, round by round."""

from attnmask.bench.compare import Row as Row
from attnmask.bench.compare import compare as compare
from attnmask.bench.problem import Problem as Problem
from attnmask.bench.problem import problem_of as problem_of
from attnmask.bench.report import problems_of as problems_of
from attnmask.bench.report import save_plot as save_plot
from attnmask.bench.report import table_of as table_of
from attnmask.bench.report import times_of as times_of
