import { type FC, useState } from "react";
import { t } from "../../i18n";
import { answerKey, lockKey } from "../../meeting/hosting";
import type { Meeting } from "../../meeting/meeting";
import type { People, Person } from "../../meeting/people";
import type { Lock, User } from "../../meeting/types";
import type { View } from "../../meeting/view";
import { EVERYONE } from "../../services/api/types";
import { Avatar } from "../../ui/Avatar";
import { Button } from "../../ui/Button";
import { Icon } from "../../ui/Icon";
import { Switch } from "../../ui/Switch";
import { useStore } from "../../ui/useStore";
import { CopyInvitation } from "../invitation/CopyInvitation";
import { Panel } from "../room/Panel";
import { act } from "./act";
import styles from "./PeoplePanel.module.css";
import { PersonMenu } from "./PersonMenu";

interface PeoplePanelProps {
  meeting: Meeting;
  people: People;
  view: View;
  invitation: string | null;
}

export const PeoplePanel: FC<PeoplePanelProps> = ({ meeting, people, view, invitation }) => {
  const inside = useStore(people.inside);
  const waiting = useStore(people.waiting);
  const rights = useStore(meeting.rights);
  const shown = rights.seeOthers ? byHand(inside) : inside.filter(({ isMe, isHost }) => isMe || isHost);
  return (
    <Panel title={t("people.title")} onClose={() => view.panel.set(null)}>
      <div className={styles.content}>
        {rights.host && waiting.length > 0 && <Waiting meeting={meeting} view={view} waiting={waiting} />}
        {invitation && <CopyInvitation path={invitation} wide />}
        {rights.host && <HostTools meeting={meeting} view={view} />}
        <h3 className={styles.heading}>{t("people.inside", { count: inside.length })}</h3>
        <ul className={styles.list}>
          {shown.map((person) => (
            <Row key={person.id} person={person} meeting={meeting} view={view} />
          ))}
        </ul>
        {!rights.seeOthers && <p className={styles.hint}>{t("people.hidden")}</p>}
      </div>
    </Panel>
  );
};

/** Raised hands first, the longest raised on top. */
function byHand(people: readonly Person[]): readonly Person[] {
  return [...people].sort(
    (a, b) =>
      (a.handRaisedAt ?? Number.POSITIVE_INFINITY) - (b.handRaisedAt ?? Number.POSITIVE_INFINITY) || 0,
  );
}

const Row: FC<{ person: Person; meeting: Meeting; view: View }> = ({ person, meeting, view }) => (
  <li className={styles.row} aria-label={person.name} data-away={person.away}>
    <Avatar id={person.id} name={person.name} />
    <span className={styles.who}>
      <span className={styles.name}>
        {person.isMe ? t("person.you", { name: person.name }) : person.name}
      </span>
      <span className={styles.role}>{roleOf(person)}</span>
    </span>
    {person.handRaisedAt !== null && (
      <span className={styles.hand} role="img" aria-label={t("person.handRaised")}>
        <Icon name="hand" size={16} />
      </span>
    )}
    <span
      className={styles.state}
      role="img"
      aria-label={t(person.microphone === "on" ? "person.unmuted" : "person.muted")}
    >
      <Icon name={person.microphone === "on" ? "microphone" : "microphoneOff"} size={18} />
    </span>
    <PersonMenu person={person} meeting={meeting} view={view} />
  </li>
);

function roleOf(person: Person): string {
  if (person.away) return t("person.away");
  if (person.isPresenter && person.isHost) return t("person.hostPresenter");
  if (person.isHost) return t("person.host");
  return person.isPresenter ? t("person.presenter") : "";
}

const Waiting: FC<{ meeting: Meeting; view: View; waiting: readonly User[] }> = ({
  meeting,
  view,
  waiting,
}) => {
  const wishes = useStore(meeting.host.wishes);
  // Who was answered is gone at once, and back where the server refuses.
  const open = waiting.filter(({ id }) => !wishes.has(answerKey(id)));
  if (open.length === 0) return null;
  return (
    <section className={styles.waiting} aria-labelledby="people-waiting">
      <header className={styles.waitingHeader}>
        <h3 id="people-waiting" className={styles.heading}>
          {t("people.waiting", { count: open.length })}
        </h3>
        {open.length > 1 && (
          <Button
            size="small"
            tone="quiet"
            onPress={() => {
              for (const { id } of open) act(view, meeting.host.approve(id));
            }}
          >
            {t("people.letAllIn")}
          </Button>
        )}
      </header>
      <ul className={styles.list}>
        {open.map(({ id, name }) => (
          <li key={id} className={styles.row} aria-label={name}>
            <Avatar id={id} name={name} />
            <span className={styles.who}>
              <span className={styles.name}>{name}</span>
            </span>
            <span className={styles.answers}>
              <Button size="small" tone="quiet" onPress={() => act(view, meeting.host.refuse(id))}>
                {t("people.refuse")}
              </Button>
              <Button size="small" tone="primary" onPress={() => act(view, meeting.host.approve(id))}>
                {t("people.letIn")}
              </Button>
            </span>
          </li>
        ))}
      </ul>
    </section>
  );
};

const LOCKS = ["microphone", "camera", "screen", "chat", "privateChat"] as const satisfies readonly Lock[];

const HostTools: FC<{ meeting: Meeting; view: View }> = ({ meeting, view }) => {
  const room = useStore(meeting.room);
  const wishes = useStore(meeting.host.wishes);
  const [isOpen, setOpen] = useState(false);
  if (!room) return null;
  return (
    <section className={styles.tools} aria-label={t("people.tools")}>
      <div className={styles.toolRow}>
        <Button icon="microphoneOff" onPress={() => act(view, meeting.host.mute(EVERYONE, ""))}>
          {t("people.muteAll")}
        </Button>
        <Button icon="lock" aria-expanded={isOpen} onPress={() => setOpen(!isOpen)}>
          {t("people.locks")}
        </Button>
      </div>
      {isOpen && (
        <fieldset className={styles.locks}>
          <legend className={styles.hint}>{t("people.locksHint")}</legend>
          {LOCKS.map((lock) => (
            <Switch
              key={lock}
              isSelected={!(wishes.get(lockKey(EVERYONE, lock)) ?? room.locks[lock])}
              onChange={(allowed) => act(view, meeting.host.setLock(EVERYONE, lock, !allowed))}
            >
              {t(`people.allow.${lock}`)}
            </Switch>
          ))}
        </fieldset>
      )}
    </section>
  );
};
