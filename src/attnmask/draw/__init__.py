"""Pictures of a plan: text for the terminal, figures for a page. Nothing looks at this from below."""

from attnmask.draw.image import figure_from_plan as figure_from_plan
from attnmask.draw.image import save_image as save_image
from attnmask.draw.several import save_images as save_images
from attnmask.draw.text import text_from_plan as text_from_plan
