"""Pictures of a plan: text for the terminal, figures for a page."""

from attnmask.drawing.figure import figure_from_plan as figure_from_plan
from attnmask.drawing.figure import save_image as save_image
from attnmask.drawing.several_plans import save_images as save_images
from attnmask.drawing.text_grid import text_from_plan as text_from_plan
