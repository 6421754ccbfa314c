import { type FC, lazy, Suspense, useEffect } from "react";
import { I18nProvider } from "react-aria-components";
import { Cannot } from "../features/cannot/Cannot";
import { Landing } from "../features/landing/Landing";
import { Prejoin } from "../features/prejoin/Prejoin";
import { language } from "../i18n";
import { ErrorBoundary } from "../ui/ErrorBoundary";
import { useStore } from "../ui/useStore";
import type { Flow } from "./flow";
import { Broken, Opening } from "./Opening";
import { preferences } from "./preferences";

const MeetingScreen = lazy(async () => ({
  default: (await import("../features/room/MeetingScreen")).MeetingScreen,
}));

export const App: FC<{ flow: Flow }> = ({ flow }) => {
  useTheme();
  return (
    <I18nProvider locale={language()}>
      <ErrorBoundary fallback={() => <Broken />}>
        <Suspense fallback={<Opening />}>
          <CurrentScreen flow={flow} />
        </Suspense>
      </ErrorBoundary>
    </I18nProvider>
  );
};

const CurrentScreen: FC<{ flow: Flow }> = ({ flow }) => {
  const screen = useStore(flow.screen);
  switch (screen.name) {
    case "loading":
      return <Opening />;
    case "offline":
      return <Opening onRetry={screen.retry} />;
    case "cannot":
      return <Cannot />;
    case "landing":
      return <Landing flow={flow} link={screen.link} />;
    case "prejoin":
      return <Prejoin key={keyOf(screen.entry)} flow={flow} entry={screen.entry} />;
    case "meeting":
      return <MeetingScreen flow={flow} entry={screen.entry} meeting={screen.meeting} />;
  }
};

function keyOf(entry: { kind: string; code?: string }): string {
  return `${entry.kind} ${entry.code ?? ""}`;
}

function useTheme(): void {
  const { theme } = useStore(preferences);
  useEffect(() => {
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
  }, [theme]);
}
