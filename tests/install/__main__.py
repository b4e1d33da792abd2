"""Write the generated files of the chart, and its golden renders: `make schema`."""

from __future__ import annotations

from tests.install.golden import golden_files
from tests.install.install_page import PAGE, page_text
from tests.install.values import generated


def main() -> None:
    """Write each file."""
    for path, text in generated().items():
        path.write_text(text, encoding="utf-8")
    # With the schema that was just written.
    for path, text in {**golden_files(), PAGE: page_text()}.items():
        path.write_text(text, encoding="utf-8")


main()
