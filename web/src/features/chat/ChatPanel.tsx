import {
  type FC,
  Fragment,
  type KeyboardEvent,
  memo,
  useEffect,
  useLayoutEffect,
  useRef,
  useState,
} from "react";
import { Button as AriaButton, TextArea, TextField } from "react-aria-components";
import { language, t } from "../../i18n";
import {
  type Chat,
  type ChatLine,
  type ConversationId,
  HISTORY_PAGE,
  MAX_MESSAGE_BYTES,
} from "../../meeting/chat";
import type { Meeting } from "../../meeting/meeting";
import type { People } from "../../meeting/people";
import type { View } from "../../meeting/view";
import { Button } from "../../ui/Button";
import { Icon } from "../../ui/Icon";
import { Select } from "../../ui/Select";
import { useStore } from "../../ui/useStore";
import { Panel } from "../room/Panel";
import styles from "./ChatPanel.module.css";
import { pieces } from "./links";

interface ChatPanelProps {
  meeting: Meeting;
  chat: Chat;
  people: People;
  view: View;
}

export const ChatPanel: FC<ChatPanelProps> = ({ meeting, chat, people, view }) => (
  <Panel title={t("chat.title")} onClose={() => view.panel.set(null)}>
    <div className={styles.chat}>
      <WithWhom chat={chat} people={people} view={view} meeting={meeting} />
      <Lines meeting={meeting} chat={chat} view={view} />
      <Composer meeting={meeting} chat={chat} people={people} view={view} />
    </div>
  </Panel>
);

const WithWhom: FC<ChatPanelProps> = ({ meeting, chat, people, view }) => {
  const inside = useStore(people.inside);
  const conversations = useStore(chat.conversations);
  const id = useStore(view.conversation);
  const rights = useStore(meeting.rights);
  const options = [{ id: "everyone", label: t("chat.everyone") }];
  const add = (personId: string, name: string) => {
    if (options.some((option) => option.id === personId)) return;
    const unread = conversations.find((one) => one.id === personId)?.unread ?? 0;
    options.push({
      id: personId,
      label: unread > 0 ? t("chat.personUnread", { name, count: unread }) : name,
    });
  };
  for (const one of conversations) {
    if (one.id !== "everyone")
      add(one.id, nameIn(one.lines, one.id) ?? people.nameOf(one.id) ?? t("chat.somebody"));
  }
  for (const person of inside) {
    if (!person.isMe && rights.privateChat && (rights.seeOthers || person.isHost))
      add(person.id, person.name);
  }
  if (!options.some((option) => option.id === id)) add(id, people.nameOf(id) ?? t("chat.somebody"));
  if (options.length === 1) return null;
  const others = conversations.reduce((sum, one) => sum + (one.id === id ? 0 : one.unread), 0);
  return (
    <div className={styles.whom}>
      {others > 0 && (
        <p className={styles.others} role="status">
          {t("chat.unreadElsewhere", { count: others })}
        </p>
      )}
      <Select
        label={t("chat.with")}
        icon={id === "everyone" ? "people" : "lock"}
        value={id}
        options={options}
        onChange={(next) => view.conversation.set(next)}
      />
    </div>
  );
};

function nameIn(lines: readonly ChatLine[], id: ConversationId): string | undefined {
  return lines.find(({ fromId }) => fromId === id)?.fromName;
}

/** So many lines are drawn; those above are a press away. */
const DRAWN = 200;
/** Nearer than this is at the end. */
const END_PX = 40;

const Lines: FC<Pick<ChatPanelProps, "meeting" | "chat" | "view">> = ({ meeting, chat, view }) => {
  const id = useStore(view.conversation);
  // Another conversation is another list: it begins at its end.
  return <LinesOf key={id} id={id} meeting={meeting} chat={chat} />;
};

const LinesOf: FC<{ id: ConversationId; meeting: Meeting; chat: Chat }> = ({ id, meeting, chat }) => {
  const { lines } = useStore(chat.conversations).find((one) => one.id === id) ?? { lines: [] };
  const before = useStore(chat.before);
  const [limit, setLimit] = useState(DRAWN);
  const list = useRef<HTMLDivElement>(null);
  const isAtEnd = useRef(true);
  const shown = lines.slice(-limit);
  const last = lines.at(-1);
  const isMine = last?.mine === true && last.delivery === "sending";
  useKeptPlace(list, isAtEnd, shown[0]?.id, shown.length, isMine);
  const earlier = () => {
    if (lines.length > limit) return setLimit(limit + DRAWN);
    setLimit(limit + HISTORY_PAGE);
    meeting.loadOlderMessages();
  };
  return (
    <div
      ref={list}
      className={styles.lines}
      // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard.
      tabIndex={0}
      role="log"
      aria-label={t("chat.messages")}
      aria-live="off"
      onScroll={({ currentTarget }) => {
        isAtEnd.current =
          currentTarget.scrollHeight - currentTarget.scrollTop - currentTarget.clientHeight < END_PX;
      }}
    >
      {(before > 0 || lines.length > limit) && (
        <Button tone="quiet" size="small" onPress={earlier}>
          {t("chat.earlier")}
        </Button>
      )}
      {lines.length === 0 && (
        <p className={styles.empty}>{t(id === "everyone" ? "chat.empty" : "chat.emptyPrivate")}</p>
      )}
      <ol className={styles.list}>
        {shown.map((line, index) => (
          <Line key={line.id} line={line} isFirst={isFirstOf(line, shown[index - 1])} chat={chat} />
        ))}
      </ol>
    </div>
  );
};

/** Follows the end while the person is there, or has just written; otherwise what is read stays where it is. */
function useKeptPlace(
  list: React.RefObject<HTMLDivElement | null>,
  isAtEnd: React.RefObject<boolean>,
  first: string | undefined,
  count: number,
  isMine: boolean,
): void {
  const height = useRef(0);
  const before = useRef(first);
  // biome-ignore lint/correctness/useExhaustiveDependencies: a new line moves the end.
  useLayoutEffect(() => {
    const element = list.current;
    if (!element) return;
    const grewAbove = before.current !== undefined && before.current !== first;
    if (isAtEnd.current || isMine) element.scrollTop = element.scrollHeight;
    else if (grewAbove) element.scrollTop += element.scrollHeight - height.current;
    height.current = element.scrollHeight;
    before.current = first;
  }, [list, isAtEnd, first, count, isMine]);
}

/** Lines of one person in a row within this time stand under one name. */
const TOGETHER_MS = 3 * 60_000;

function isFirstOf(line: ChatLine, before: ChatLine | undefined): boolean {
  return before?.fromId !== line.fromId || line.sentAt - before.sentAt > TOGETHER_MS;
}

const Line: FC<{ line: ChatLine; isFirst: boolean; chat: Chat }> = memo(({ line, isFirst, chat }) => {
  const isFailed = line.delivery === "failed" || line.delivery === "refused";
  return (
    <li className={styles.line} data-mine={line.mine} data-first={isFirst} data-failed={isFailed}>
      {isFirst && (
        <p className={styles.meta}>
          <span className={styles.from}>{line.mine ? t("chat.me") : line.fromName}</span>
          <time dateTime={new Date(line.sentAt).toISOString()}>{timeOf(line.sentAt)}</time>
        </p>
      )}
      <p className={styles.text} dir="auto">
        {pieces(line.text).map((piece, index) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: the pieces of a text never move.
          <Fragment key={index}>
            {piece.href ? (
              <a href={piece.href} target="_blank" rel="noopener noreferrer nofollow">
                {piece.text}
              </a>
            ) : (
              piece.text
            )}
          </Fragment>
        ))}
      </p>
      {line.delivery === "sending" && <p className={styles.delivery}>{t("chat.sending")}</p>}
      {isFailed && (
        <p className={styles.failed}>
          {t("chat.failed")}
          <AriaButton className={styles.retry ?? ""} onPress={() => chat.retry(line.id)}>
            {t("common.tryAgain")}
          </AriaButton>
        </p>
      )}
    </li>
  );
});

function timeOf(time: number): string {
  return new Intl.DateTimeFormat(language(), { hour: "numeric", minute: "2-digit" }).format(time);
}

/** Where the browser does not fit the field to its text by itself. */
function rowsOf(text: string): number {
  const fits = CSS.supports("field-sizing", "content");
  return fits
    ? 1
    : Math.min(
        6,
        text.split("\n").reduce((rows, line) => rows + 1 + Math.floor(line.length / 40), 0),
      );
}

const Composer: FC<ChatPanelProps> = ({ meeting, chat, people, view }) => {
  const rights = useStore(meeting.rights);
  const id = useStore(view.conversation);
  const text = useStore(view.drafts).get(id) ?? "";
  const setText = (next: string) => view.setDraft(id, next);
  const inside = useStore(people.inside);
  const field = useRef<HTMLTextAreaElement>(null);
  // Opening the chat means to write, except on a phone, where the keyboard would cover what was said.
  useEffect(() => {
    if (matchMedia("(pointer: fine)").matches) field.current?.focus();
  }, []);

  const isPrivate = id !== "everyone";
  if (isPrivate ? !rights.privateChat : !rights.chat) {
    return <p className={styles.locked}>{t(isPrivate ? "chat.lockedPrivate" : "chat.locked")}</p>;
  }
  if (isPrivate && !inside.some((person) => person.id === id)) {
    return <p className={styles.locked}>{t("chat.gone")}</p>;
  }
  const isTooLong = new TextEncoder().encode(text).length > MAX_MESSAGE_BYTES;
  const send = () => {
    const trimmed = text.trim();
    if (trimmed === "" || isTooLong) return;
    chat.send(trimmed, id);
    setText("");
  };
  const onKeyDown = (event: KeyboardEvent) => {
    // Enter while an input method composes chooses a word.
    if (event.key !== "Enter" || event.shiftKey || event.nativeEvent.isComposing) return;
    event.preventDefault();
    send();
  };
  return (
    <form
      className={styles.composer}
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      {isTooLong && <p className={styles.tooLong}>{t("chat.tooLong")}</p>}
      <TextField
        className={styles.field ?? ""}
        aria-label={t("chat.message")}
        value={text}
        onChange={setText}
      >
        <TextArea
          ref={field}
          className={styles.input ?? ""}
          rows={rowsOf(text)}
          placeholder={t(isPrivate ? "chat.placeholderPrivate" : "chat.placeholder")}
          onKeyDown={onKeyDown}
        />
      </TextField>
      <AriaButton
        type="submit"
        className={styles.send ?? ""}
        aria-label={t("chat.send")}
        isDisabled={text.trim() === "" || isTooLong}
      >
        <Icon name="send" />
      </AriaButton>
    </form>
  );
};
