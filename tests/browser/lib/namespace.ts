import { execFileSync } from "node:child_process";
import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const IP = "/usr/sbin/ip";

/** Only root may make a network of its own. */
export function mayMakeNamespaces(): boolean {
  return process.getuid?.() === 0 && existsSync(IP);
}

/** A network with one machine in it and a cable to ours, which can be pulled. */
export class Namespace {
  private constructor(
    readonly name: string,
    readonly cable: string,
    /** Our end of the cable. */
    readonly outside: string,
    readonly inside: string,
    readonly folder: string,
  ) {}

  static create(): Namespace {
    const id = process.pid % 60_000;
    const net = `10.203.${id % 250}`;
    const one = new Namespace(
      `plenum${id}`,
      `plenum${id}`,
      `${net}.1`,
      `${net}.2`,
      mkdtempSync(join(tmpdir(), "plenum-net-")),
    );
    ip("netns", "add", one.name);
    try {
      ip("link", "add", one.cable, "type", "veth", "peer", "name", "far", "netns", one.name);
      ip("address", "add", `${one.outside}/30`, "dev", one.cable);
      ip("link", "set", one.cable, "up");
      ip("-n", one.name, "address", "add", `${one.inside}/30`, "dev", "far");
      ip("-n", one.name, "link", "set", "lo", "up");
      one.mend();
    } catch (error) {
      one.remove();
      throw error;
    }
    return one;
  }

  cut(): void {
    ip("-n", this.name, "link", "set", "far", "down");
  }

  mend(): void {
    ip("-n", this.name, "link", "set", "far", "up");
  }

  /** A program that starts another one in this network. */
  wrapper(program: string): string {
    const path = join(this.folder, "run");
    writeFileSync(path, `#!/bin/sh\nexec ${IP} netns exec ${this.name} ${program} "$@"\n`);
    chmodSync(path, 0o755);
    return path;
  }

  remove(): void {
    // The cable goes with the network at its other end.
    ip("netns", "delete", this.name);
    rmSync(this.folder, { recursive: true, force: true });
  }
}

function ip(...args: string[]): void {
  execFileSync(IP, args, { stdio: ["ignore", "ignore", "pipe"] });
}
