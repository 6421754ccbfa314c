/** Debian's, or what the environment names. */
export const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";

/** Fake camera and microphone, no question asked, nothing fetched from elsewhere. */
export function browserArguments(...more: string[]): string[] {
  return [
    "--use-fake-device-for-media-stream=fps=15",
    "--use-fake-ui-for-media-stream",
    "--auto-accept-this-tab-capture",
    "--autoplay-policy=no-user-gesture-required",
    // Candidates of the loopback interface by number: nothing here answers mDNS.
    "--disable-features=WebRtcHideLocalIpsWithMdns,Translate,OptimizationHints,MediaRouter",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    ...more,
  ];
}
