"""attnmask: describe an attention mask once, as a set of (query, key) pairs, and use it everywhere."""

from attnmask.compile import Plan as Plan
from attnmask.compile import compile as compile
from attnmask.errors import AttnMaskError as AttnMaskError
from attnmask.mask.atoms import causal as causal
from attnmask.mask.atoms import dense as dense
from attnmask.mask.atoms import documents as documents
from attnmask.mask.atoms import empty as empty
from attnmask.mask.atoms import full as full
from attnmask.mask.atoms import padding as padding
from attnmask.mask.atoms import prefix as prefix
from attnmask.mask.atoms import window as window
from attnmask.mask.expr import Mask as Mask
