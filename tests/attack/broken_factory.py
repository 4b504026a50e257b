def is_no_python(:
