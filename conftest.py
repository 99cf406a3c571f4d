"""Tests, those of stored notebook outputs too, run at quick scale on the embedded data whatever the shell says; and in
notebooks' outputs, marked numbers are compared within their tolerance (see seglib/course/tolerance.py), and widgets
are left out."""

import copy
import os

for name in ("SEGLIB_SCALE", "SEGLIB_NOTEBOOK_DATA"):
    os.environ.pop(name, None)


def pytest_itemcollected(item):
    """Has nbval's cells look at marked numbers first, and then compare what is left as ever."""
    if type(item).__name__ != "IPyNbCell":
        return
    from seglib.course.notebook import WIDGET
    from seglib.course.tolerance import settled, tolerance_of

    compare = item.compare_outputs

    def compare_within(test, ref, skip_compare=None):
        # Widgets live as long as their kernel, so the stored outputs have none.
        test = [copy.deepcopy(output) for output in test if WIDGET not in output.get("data", {})]
        try:
            tolerance = tolerance_of(item.cell.metadata.get("tags", ()))
            for new, stored in zip(test, ref):
                for old, values in ((stored, new), (stored.get("data", {}), new.get("data", {}))):
                    for kind, text in old.items():
                        if isinstance(text, str) and isinstance(values.get(kind), str):
                            values[kind] = settled(values[kind], text, tolerance)
        except ValueError as error:
            item.comparison_traceback = [str(error)]
            return False
        return compare(test, ref, skip_compare)

    item.compare_outputs = compare_within
