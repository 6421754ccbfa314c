import type { FC } from "react";
import { t, tServer } from "../../i18n";
import type { OverReason } from "../../meeting/over";
import { Button } from "../../ui/Button";
import { Logo } from "../../ui/Icon";
import { useArrival } from "../../ui/useArrival";
import styles from "../room/Between.module.css";

interface OverProps {
  reason: OverReason;
  detail: string | undefined;
  onAgain: () => void;
  onStart: () => void;
}

/** Going in again makes sense. */
const AGAIN: ReadonlySet<OverReason> = new Set(["left", "otherTab", "expired", "full", "refused"]);

/** Nobody here asked for it: it is said at once, whatever is being read. */
const SUDDEN: ReadonlySet<OverReason> = new Set(["ended", "removed", "otherTab", "expired"]);

export const Over: FC<OverProps> = ({ reason, detail, onAgain, onStart }) => {
  const heading = useArrival<HTMLHeadingElement>();
  return (
    <main className={styles.page}>
      <Logo size={40} />
      <h1 ref={heading} tabIndex={-1} className={styles.title}>
        {t(`over.${reason}`)}
      </h1>
      <p className={styles.text} {...(SUDDEN.has(reason) ? { role: "alert" } : {})}>
        {detail ? tServer(detail) : t(`over.${reason}Text`)}
      </p>
      <div className={styles.actions}>
        {AGAIN.has(reason) && (
          <Button tone="primary" onPress={onAgain}>
            {t(reason === "otherTab" ? "over.here" : "over.again")}
          </Button>
        )}
        <Button tone={AGAIN.has(reason) ? "plain" : "primary"} onPress={onStart}>
          {t("common.toStart")}
        </Button>
      </div>
    </main>
  );
};
