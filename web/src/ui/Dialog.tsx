import type { FC, ReactNode } from "react";
import { Dialog as AriaDialog, Heading, Modal, ModalOverlay } from "react-aria-components";
import { t } from "../i18n";
import { Button, IconButton } from "./Button";
import styles from "./Dialog.module.css";

interface DialogProps {
  title: string;
  isOpen: boolean;
  onClose: () => void;
  children: ReactNode;
}

export const Dialog: FC<DialogProps> = ({ title, isOpen, onClose, children }) => (
  <ModalOverlay
    className={styles.overlay ?? ""}
    isOpen={isOpen}
    onOpenChange={(open) => !open && onClose()}
    isDismissable
  >
    <Modal className={styles.modal ?? ""}>
      <AriaDialog className={styles.dialog ?? ""}>
        <header className={styles.header}>
          <Heading slot="title" className={styles.title ?? ""}>
            {title}
          </Heading>
          <IconButton label={t("common.close")} icon="close" onPress={onClose} />
        </header>
        <div className={styles.body}>{children}</div>
      </AriaDialog>
    </Modal>
  </ModalOverlay>
);

interface QuestionProps {
  title: string;
  text: string;
  /** What happens, in words: never "OK". */
  action: string;
  isOpen: boolean;
  onClose: () => void;
  onConfirm: () => void;
}

/** Asks before what cannot be taken back. */
export const Question: FC<QuestionProps> = ({ title, text, action, isOpen, onClose, onConfirm }) => (
  <ModalOverlay
    className={styles.overlay ?? ""}
    isOpen={isOpen}
    onOpenChange={(open) => !open && onClose()}
    isDismissable
  >
    <Modal className={styles.modal ?? ""}>
      <AriaDialog className={styles.dialog ?? ""} role="alertdialog">
        <div className={styles.question}>
          <Heading slot="title" className={styles.title ?? ""}>
            {title}
          </Heading>
          <p>{text}</p>
          <div className={styles.actions}>
            {/* The focus is where a key that is still held does no harm. */}
            <Button autoFocus onPress={onClose}>
              {t("common.cancel")}
            </Button>
            <Button
              tone="danger"
              onPress={() => {
                onClose();
                onConfirm();
              }}
            >
              {action}
            </Button>
          </div>
        </div>
      </AriaDialog>
    </Modal>
  </ModalOverlay>
);
