"""Write the generated files under docs: `make schema`."""

from __future__ import annotations

from tests.unit.contract.files import generated


def main() -> None:
    """Write each file whose text has changed."""
    for path, text in generated().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
