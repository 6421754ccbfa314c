import { existsSync } from "node:fs";
import { type Browser, chromium } from "playwright-core";

/** Debian's, or what the environment names. */
const PATHS = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/google-chrome"];

export function openBrowser(): Promise<Browser> {
  const executablePath = PATHS.find((path): path is string => path !== undefined && existsSync(path));
  if (!executablePath)
    throw new Error("Install Debian's package chromium, or set CHROMIUM to a browser's path.");
  return chromium.launch({ executablePath, args: ["--no-sandbox"] });
}
