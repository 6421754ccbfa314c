/// <reference types="vitest/config" />
import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

/** Where `plenum` listens unless told otherwise. */
const SERVER = process.env.DEV_SERVER ?? "http://127.0.0.1:8080";

export default defineConfig({
  plugins: [react()],
  build: {
    target: ["chrome111", "edge111", "firefox114", "safari16.4"],
    // The content policy forbids data: addresses.
    assetsInlineLimit: 0,
    manifest: true,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  server: {
    proxy: Object.fromEntries(
      ["/admin", "/api", "/auth", "/nats", "/rtc", "/twirp"].map((path) => [
        path,
        { target: SERVER, ws: true, changeOrigin: false },
      ]),
    ),
  },
  test: {
    projects: [
      {
        extends: true,
        test: { name: "unit", include: ["src/**/*.test.ts"], environment: "node" },
      },
      {
        extends: true,
        test: {
          name: "screens",
          include: ["tests/screens.test.ts"],
          environment: "node",
          testTimeout: 300_000,
          hookTimeout: 60_000,
        },
      },
      {
        extends: true,
        test: { name: "size", include: ["tests/size.test.ts"], environment: "node", testTimeout: 120_000 },
      },
    ],
  },
});
