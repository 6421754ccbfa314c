import type { FC } from "react";
import between from "../features/room/Between.module.css";
import { t } from "../i18n";
import { Button } from "../ui/Button";
import { Logo } from "../ui/Icon";
import { useArrival } from "../ui/useArrival";

/** While the next part of the client is loaded, or when that failed. */
export const Opening: FC<{ onRetry?: () => void }> = ({ onRetry }) => (
  <main className={between.page}>
    <span className={onRetry ? "" : between.busy}>
      <Logo size={40} />
    </span>
    <h1 className={between.text}>
      <span role="status">{t(onRetry ? "common.noAnswer" : "common.opening")}</span>
    </h1>
    {onRetry && (
      <Button tone="primary" onPress={onRetry}>
        {t("common.tryAgain")}
      </Button>
    )}
  </main>
);

/** A fault of this program. A fresh page goes on where this one was: the seat is kept. */
export const Broken: FC = () => {
  const heading = useArrival<HTMLHeadingElement>();
  return (
    <main className={between.page}>
      <Logo size={40} />
      <h1 ref={heading} tabIndex={-1} className={between.title}>
        {t("common.broken")}
      </h1>
      <p className={between.text} role="alert">
        {t("common.brokenText")}
      </p>
      <Button tone="primary" onPress={() => location.reload()}>
        {t("common.reload")}
      </Button>
    </main>
  );
};
