import { type FC, type FormEvent, useState } from "react";
import { language, t } from "../../i18n";
import { refusalOf } from "../../i18n/refusal";
import type { MeetingInfo } from "../../services/api/types";
import { Button, IconButton } from "../../ui/Button";
import { Dialog, Question } from "../../ui/Dialog";
import { Menu, MenuItem } from "../../ui/Menu";
import { Switch } from "../../ui/Switch";
import { TextField } from "../../ui/TextField";
import { CopyInvitation } from "../invitation/CopyInvitation";
import styles from "./HostMeetings.module.css";
import type { Landing } from "./model";

interface HostMeetingsProps {
  model: Landing;
  meetings: readonly MeetingInfo[];
  onOpen: (path: string) => void;
}

export const HostMeetings: FC<HostMeetingsProps> = ({ model, meetings, onOpen }) => {
  const [isCreating, setCreating] = useState(false);
  const running = meetings.filter(({ state }) => state === "active");
  const past = meetings.filter(({ state }) => state === "ended");
  return (
    <div className={styles.meetings}>
      <header className={styles.header}>
        <h2 className={styles.title}>{t("landing.yourMeetings")}</h2>
        <Button tone="primary" icon="plus" onPress={() => setCreating(true)}>
          {t("landing.newMeeting")}
        </Button>
      </header>
      {meetings.length === 0 && <p className={styles.empty}>{t("landing.noMeetings")}</p>}
      {running.length > 0 && (
        <ul className={styles.list}>
          {running.map((meeting) => (
            <RunningMeeting key={meeting.roomId} model={model} meeting={meeting} onOpen={onOpen} />
          ))}
        </ul>
      )}
      {past.length > 0 && (
        <>
          <h3 className={styles.subtitle}>{t("landing.past")}</h3>
          <ul className={styles.list}>
            {past.map((meeting) => (
              <li
                key={`${meeting.roomId} ${meeting.createdAt}`}
                className={styles.past}
                aria-label={meeting.title}
              >
                <span className={styles.name}>{meeting.title}</span>
                <span className={styles.detail}>{dateOf(meeting.endedAt ?? meeting.createdAt)}</span>
              </li>
            ))}
          </ul>
        </>
      )}
      {isCreating && (
        <NewMeetingDialog
          model={model}
          onClose={() => setCreating(false)}
          onCreated={({ invitation }) => onOpen(invitation)}
        />
      )}
    </div>
  );
};

const RunningMeeting: FC<{ model: Landing; meeting: MeetingInfo; onOpen: (path: string) => void }> = ({
  model,
  meeting,
  onOpen,
}) => {
  const [isAsking, setAsking] = useState(false);
  return (
    <li className={styles.running} aria-label={meeting.title}>
      <div className={styles.what}>
        <span className={styles.name}>{meeting.title}</span>
        <span className={styles.detail}>
          {meeting.participants > 0
            ? t("landing.peopleInside", { count: meeting.participants })
            : t("landing.nobodyInside", { date: dateOf(meeting.createdAt) })}
        </span>
      </div>
      <div className={styles.actions}>
        <CopyInvitation path={meeting.invitation} />
        <Button onPress={() => onOpen(meeting.invitation)}>{t("landing.open")}</Button>
        <Menu
          label={t("landing.menuOf", { title: meeting.title })}
          trigger={<IconButton label={t("landing.menuOf", { title: meeting.title })} icon="more" />}
        >
          <MenuItem icon="end" tone="danger" onAction={() => setAsking(true)}>
            {t("landing.end")}
          </MenuItem>
        </Menu>
      </div>
      <Question
        title={t("landing.endTitle", { title: meeting.title })}
        text={t("end.text")}
        action={t("landing.end")}
        isOpen={isAsking}
        onClose={() => setAsking(false)}
        onConfirm={() => void model.end(meeting.roomId)}
      />
    </li>
  );
};

const NewMeetingDialog: FC<{
  model: Landing;
  onClose: () => void;
  onCreated: (meeting: MeetingInfo) => void;
}> = ({ model, onClose, onCreated }) => {
  const [title, setTitle] = useState("");
  const [waitingRoom, setWaitingRoom] = useState(false);
  const [muteOnStart, setMuteOnStart] = useState(false);
  const [isBusy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string>();
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    setBusy(true);
    try {
      onCreated(
        await model.create({ title: title.trim() || t("new.defaultTitle"), waitingRoom, muteOnStart }),
      );
    } catch (error) {
      setBusy(false);
      setProblem(refusalOf(error));
    }
  };
  return (
    <Dialog title={t("landing.newMeeting")} isOpen onClose={onClose}>
      <form className={styles.form} onSubmit={(event) => void submit(event)}>
        <TextField
          label={t("new.title")}
          placeholder={t("new.defaultTitle")}
          value={title}
          onChange={setTitle}
          maxLength={120}
          autoFocus
          error={problem}
          autoComplete="off"
        />
        <div>
          <Switch isSelected={waitingRoom} onChange={setWaitingRoom} hint={t("new.waitingRoomHint")}>
            {t("new.waitingRoom")}
          </Switch>
          <Switch isSelected={muteOnStart} onChange={setMuteOnStart} hint={t("new.muteOnStartHint")}>
            {t("new.muteOnStart")}
          </Switch>
        </div>
        <Button type="submit" tone="primary" size="large" wide isDisabled={isBusy}>
          {isBusy ? t("new.creating") : t("new.create")}
        </Button>
      </form>
    </Dialog>
  );
};

function dateOf(time: string): string {
  const date = new Date(time);
  if (Number.isNaN(date.getTime())) return "";
  return new Intl.DateTimeFormat(language(), { dateStyle: "medium", timeStyle: "short" }).format(date);
}
