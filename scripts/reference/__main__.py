"""`make reference`: write the pages. A test says whether they are those that would be written now."""

from pathlib import Path

from scripts.reference import FOLDER, commands, configuration, expressions, http, pages

if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for stale in {path.name for path in FOLDER.glob("*.md")} - pages().keys():
        Path(FOLDER, stale).unlink()
    for name, text in pages().items():
        Path(FOLDER, name).write_text(text, "utf-8")
    for one in (commands, configuration, expressions, http):
        one.PAGE.write_text(one.page(), "utf-8")
