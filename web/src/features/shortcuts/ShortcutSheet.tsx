import type { FC } from "react";
import { t } from "../../i18n";
import { Dialog } from "../../ui/Dialog";
import { SHORTCUTS } from "./keys";
import styles from "./ShortcutSheet.module.css";

export const ShortcutSheet: FC<{ onClose: () => void }> = ({ onClose }) => (
  <Dialog title={t("shortcut.title")} isOpen onClose={onClose}>
    <dl className={styles.list}>
      {SHORTCUTS.map(({ action, key }) => (
        <div key={action} className={styles.row}>
          <dt>{t(`shortcut.${action}`)}</dt>
          <dd>
            <kbd className={styles.key}>{key === "space" || key === "escape" ? t(`key.${key}`) : key}</kbd>
          </dd>
        </div>
      ))}
    </dl>
  </Dialog>
);
