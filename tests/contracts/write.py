"""`python -m tests.contracts.write`: keep a golden of each contract that has none yet.

What is there already stays as it is: it is what some release has sent.
"""

from tests.contracts.goldens import FOLDER, event_classes, example, file_of


def main() -> None:
    """Write the goldens that are missing."""
    for event in event_classes().values():
        file = file_of(event)
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(example(event))
            print(f"kept {file.relative_to(FOLDER.parent)}")  # noqa: T201


if __name__ == "__main__":
    main()
