import { type FC, useEffect } from "react";
import { preferences } from "../../app/preferences";
import { t } from "../../i18n";
import { Comings } from "../../meeting/comings";
import type { Meeting } from "../../meeting/meeting";
import type { Toasts } from "../../meeting/toasts";
import type { View } from "../../meeting/view";
import { IconButton } from "../../ui/Button";
import { Icon } from "../../ui/Icon";
import { useStore } from "../../ui/useStore";
import styles from "./Notices.module.css";
import { comingWords, wordsOf } from "./words";

/** Tells what happened: to the eye in toasts, to the ear in live regions. */
export const Notices: FC<{ meeting: Meeting; view: View }> = ({ meeting, view }) => {
  useEffect(() => {
    const comings = new Comings((what, names) =>
      view.tell(comingWords(what, names), "info", { spoken: preferences.get().announce }),
    );
    const stop = meeting.onNotice((notice) => {
      if (notice.kind === "joined" || notice.kind === "left") return comings.add(notice.kind, notice.name);
      const { text, tone, urgent } = wordsOf(notice);
      const isRead = notice.kind === "chat" && !document.hidden && view.reads(notice.conversation);
      // Trouble with a device stands in its own banner.
      const shown = !isRead && notice.kind !== "device";
      view.tell(text, tone, { urgent, shown, spoken: urgent || preferences.get().announce });
    });
    return () => {
      stop();
      comings.close();
    };
  }, [meeting, view]);
  const spoken = useStore(view.spoken);
  return (
    <>
      {(["polite", "assertive"] as const).map((live) => (
        // The mark keeps it audible while a dialog or menu hides the rest of the page.
        <div
          key={live}
          className="hidden-visually"
          aria-live={live}
          aria-relevant="additions"
          data-live-announcer=""
        >
          {spoken.flatMap(({ id, text, urgent }) =>
            urgent === (live === "assertive") ? <p key={id}>{text}</p> : [],
          )}
        </div>
      ))}
      <ToastList toasts={view.toasts} />
    </>
  );
};

const ToastList: FC<{ toasts: Toasts }> = ({ toasts }) => {
  const list = useStore(toasts.list);
  return (
    <ul className={styles.list} aria-label={t("notice.title")}>
      {list.map(({ id, tone, text }) => (
        <li key={id} className={styles.toast} data-tone={tone}>
          {tone !== "info" && <Icon name="alert" size={18} />}
          <span className={styles.text}>{text}</span>
          <IconButton
            label={t("common.dismiss")}
            icon="close"
            size="small"
            onPress={() => toasts.dismiss(id)}
          />
        </li>
      ))}
    </ul>
  );
};
