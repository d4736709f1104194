"""`make dashboards`: write them. A test says whether they are those that would be written now."""

from scripts.dashboards import FOLDER, files, operator

if __name__ == "__main__":
    made = {FOLDER / path: text for path, text in files().items()}
    for stale in {path for folder in {path.parent for path in made} for path in folder.glob("*")} - made.keys():
        stale.unlink()
    for path, text in made.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    operator.FILE.write_text(operator.manifest(), "utf-8")
