"""What schemathesis sends so that it comes further than to the first check: names that are there."""

import os

import schemathesis

NAMES = os.environ["KW_NAMES"].split()  # "name" or "name/version"


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    """Three in four go to a key that is, or was, there; others stay as they are."""
    if not path_parameters:
        return path_parameters
    for parameter in ("name", "key"):
        value = path_parameters.get(parameter)
        if isinstance(value, str) and len(value) % 4:
            name, _, version = NAMES[len(value) % len(NAMES)].partition("/")
            path_parameters[parameter] = name
            if version and "version" in path_parameters:
                path_parameters["version"] = version
    return path_parameters
