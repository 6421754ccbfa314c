import { type FC, type ReactNode, useEffect, useState } from "react";
import { t } from "../../i18n";
import { Button } from "../../ui/Button";
import { ErrorBoundary } from "../../ui/ErrorBoundary";
import { Panel } from "./Panel";
import styles from "./RoomScreen.module.css";

type Loaded<T> = { readonly part: T } | "loading" | "failed";

/** Both are loaded behind the meeting, so that they open at once and also while the connection is away. */
export const PANELS = {
  chat: () => import("../chat/ChatPanel"),
  people: () => import("../people/PeoplePanel"),
} as const;

interface PanelPlaceProps<K extends keyof typeof PANELS> {
  name: K;
  onClose: () => void;
  children: (part: Awaited<ReturnType<(typeof PANELS)[K]>>) => ReactNode;
}

/** Where a panel is, will be, or could not be loaded: nothing of that harms the meeting beside it. */
export function PanelPlace<K extends keyof typeof PANELS>({
  name,
  onClose,
  children,
}: PanelPlaceProps<K>): ReactNode {
  const [loaded, setLoaded] = useState<Loaded<Awaited<ReturnType<(typeof PANELS)[K]>>>>("loading");
  const [attempt, setAttempt] = useState(1);
  // biome-ignore lint/correctness/useExhaustiveDependencies: another attempt loads again.
  useEffect(() => {
    let isCurrent = true;
    PANELS[name]().then(
      (part) => isCurrent && setLoaded({ part: part as Awaited<ReturnType<(typeof PANELS)[K]>> }),
      () => isCurrent && setLoaded("failed"),
    );
    return () => {
      isCurrent = false;
    };
  }, [name, attempt]);
  const again = () => {
    // A server that was replaced by a newer one has files of other names, which only a fresh page knows. It comes back
    // to this seat.
    if (attempt > 1 && navigator.onLine) return location.reload();
    setLoaded("loading");
    setAttempt(attempt + 1);
  };
  const failed = (retry: () => void) => (
    <Panel title={t(`${name}.title`)} onClose={onClose}>
      <Failed onAgain={retry} />
    </Panel>
  );
  return (
    <div className={styles.panel}>
      <ErrorBoundary fallback={failed}>
        {loaded === "failed" ? (
          failed(again)
        ) : loaded === "loading" ? (
          <Panel title={t(`${name}.title`)} onClose={onClose}>
            <p className={styles.loading}>{t("common.opening")}</p>
          </Panel>
        ) : (
          children(loaded.part)
        )}
      </ErrorBoundary>
    </div>
  );
}

const Failed: FC<{ onAgain: () => void }> = ({ onAgain }) => (
  <div className={styles.loading} role="alert">
    <p>{t("room.panelFailed")}</p>
    <Button onPress={onAgain}>{t("common.tryAgain")}</Button>
  </div>
);
