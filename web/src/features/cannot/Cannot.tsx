import type { FC } from "react";
import { t } from "../../i18n";
import { Logo } from "../../ui/Icon";
import { useArrival } from "../../ui/useArrival";
import styles from "../room/Between.module.css";
import { CopyReport } from "../room/CopyReport";
import { report } from "../room/report";

/** This browser cannot hold a meeting: why, what to do, and what to tell an administrator. */
export const Cannot: FC = () => {
  const heading = useArrival<HTMLHeadingElement>();
  return (
    <main className={styles.page}>
      <Logo size={40} />
      <h1 ref={heading} tabIndex={-1} className={styles.title}>
        {t("cannot.title")}
      </h1>
      <p className={styles.text}>{t("cannot.text")}</p>
      <pre dir="ltr" className={styles.report}>
        {report("browser")}
      </pre>
      <CopyReport problem="browser" tone="primary" />
    </main>
  );
};
