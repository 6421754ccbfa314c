import { type FC, type ReactNode, useEffect, useId, useRef } from "react";
import { t } from "../../i18n";
import { IconButton } from "../../ui/Button";
import styles from "./Panel.module.css";

/** The one side panel: beside the stage where there is room, over it on a phone. */
export const Panel: FC<{ title: string; onClose: () => void; children: ReactNode }> = ({
  title,
  onClose,
  children,
}) => {
  const id = useId();
  const panel = useRef<HTMLElement>(null);
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    // What was opened is next for who goes on with the keyboard, unless something inside has the focus already.
    if (!panel.current?.contains(document.activeElement)) heading.current?.focus({ preventScroll: true });
  }, []);
  return (
    <aside
      ref={panel}
      className={styles.panel}
      aria-labelledby={id}
      onKeyDown={(event) => {
        if (event.key === "Escape" && !event.defaultPrevented) {
          event.stopPropagation();
          onClose();
        }
      }}
    >
      <header className={styles.header}>
        <h2 id={id} ref={heading} tabIndex={-1} className={styles.title}>
          {title}
        </h2>
        <IconButton label={t("common.closePanel", { title })} icon="close" onPress={onClose} />
      </header>
      {children}
    </aside>
  );
};
