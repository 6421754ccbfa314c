import type { FC } from "react";
import { t } from "../../i18n";
import { Button } from "../../ui/Button";
import { Logo } from "../../ui/Icon";
import { useArrival } from "../../ui/useArrival";
import styles from "./Between.module.css";
import { useSeconds } from "./Clock";

/** After this the person is told that it takes long, and what that may be. */
const LONG_MS = 8_000;

export const Connecting: FC<{
  step: "checking" | "messages" | "room";
  since: number;
  onCancel: () => void;
}> = ({ step, since, onCancel }) => {
  const heading = useArrival<HTMLHeadingElement>();
  const isLong = useSeconds() - since > LONG_MS;
  return (
    <main className={styles.page}>
      <span className={styles.busy}>
        <Logo size={40} />
      </span>
      <h1 ref={heading} tabIndex={-1} className={styles.title}>
        {t("connecting.title")}
      </h1>
      <p className={styles.text} role="status">
        {t(isLong ? "connecting.long" : `connecting.${step}`)}
      </p>
      <Button onPress={onCancel}>{t("common.cancel")}</Button>
    </main>
  );
};
