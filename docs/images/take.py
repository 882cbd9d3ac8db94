"""Take the screenshots of README.md from a running `make dev` (profile demo).

Run: make screenshots
Needs a Chromium on this machine. Each page is waited for until its last chart or table has been drawn.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from market_pipeline.settings import load_settings

FOLDER = Path(__file__).parent
PAGES = {
    "today-light": ("", "light"),
    "prices-light": ("prices", "light"),
    "compare-dark": ("compare", "dark"),
    "sectors-light": ("sectors", "light"),
    "volatility-dark": ("volatility", "dark"),
    "trust-light": ("trust", "light"),
    "explorer-light": ("explorer", "light"),
}
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]


def settle(page: Page) -> None:
    """Wait until Streamlit has run and what it drew stands still."""
    page.wait_for_selector("h1", timeout=60_000)
    page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]", timeout=60_000)
    page.wait_for_timeout(4_000)


def main() -> int:
    """Every picture, in the size the README shows them from."""
    settings = load_settings()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None or not settings.is_demo:
        sys.stderr.write("Screenshots need a Chromium and the demo's profile: make demo, make dev\n")
        return 1
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        for name, (path, theme) in PAGES.items():
            page = browser.new_page(viewport={"width": 1400, "height": 1250}, color_scheme=theme)
            page.goto(f"http://127.0.0.1:{settings.dashboard_port}/{path}")
            settle(page)
            page.screenshot(path=FOLDER / f"{name}.png")
            page.close()
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.goto(f"http://127.0.0.1:{settings.dagster_port}/assets")
        page.wait_for_selector("text=bronze_alpha_vantage", timeout=180_000)
        page.wait_for_timeout(4_000)
        page.screenshot(path=FOLDER / "dagster-assets.png")
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
