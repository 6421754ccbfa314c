import { type FC, type FormEvent, useEffect, useRef, useState } from "react";
import type { Entry, Flow } from "../../app/flow";
import { prefer, preferences } from "../../app/preferences";
import { language, t } from "../../i18n";
import { Preview } from "../../meeting/preview";
import { Button } from "../../ui/Button";
import { Logo } from "../../ui/Icon";
import { TextField } from "../../ui/TextField";
import { useStore } from "../../ui/useStore";
import { CopyInvitation } from "../invitation/CopyInvitation";
import { CopyReport } from "../room/CopyReport";
import { SettingsButton } from "../settings/SettingsButton";
import { DevicePanel } from "./DevicePanel";
import { type Door, Lobby } from "./model";
import styles from "./Prejoin.module.css";
import { PreviewPicture } from "./PreviewPicture";

const MAX_NAME = 60;

export const Prejoin: FC<{ flow: Flow; entry: Entry }> = ({ flow, entry }) => {
  const [lobby] = useState(() => new Lobby(entry, flow.services.api));
  const [preview] = useState(() => {
    const { microphone, camera, quality, microphoneOn, cameraOn } = preferences.get();
    return new Preview(
      flow.services.devices,
      { microphone: microphone || undefined, camera: camera || undefined, quality },
      { microphone: microphoneOn, camera: cameraOn },
    );
  });
  useEffect(
    () => () => {
      lobby.close();
      preview.close();
    },
    [lobby, preview],
  );
  const door = useStore(lobby.door);
  const isOpen = door.name === "open" || door.name === "loading";
  useEffect(() => {
    // Nobody is asked for a camera that there is no meeting for.
    if (door.name === "open") preview.start();
    else if (!isOpen) preview.pause();
  }, [door.name, isOpen, preview]);
  useEffect(() => preferences.subscribe(() => preview.setQuality(preferences.get().quality)), [preview]);

  if (door.name === "unknown" || door.name === "ended" || door.name === "offline") {
    return <Shut door={door} onBack={() => flow.go("/")} onAgain={() => void lobby.look()} />;
  }
  return (
    <div className={styles.page}>
      <header className={styles.header}>
        <span className={styles.brand}>
          <Logo size={24} />
          {t("common.product")}
        </span>
        <SettingsButton devices={flow.services.devices} />
      </header>
      <main className={styles.main}>
        <section className={styles.look} aria-label={t("prejoin.preview")}>
          <PreviewPicture preview={preview} />
        </section>
        <section className={styles.form}>
          <WhatIsBehind door={door} />
          {!isSecureContext && <Insecure />}
          <JoinForm flow={flow} entry={entry} lobby={lobby} preview={preview} />
          <DevicePanel preview={preview} devices={flow.services.devices} />
        </section>
      </main>
    </div>
  );
};

/** Stands as long as it holds: what does not work here, why, and what helps. */
const Insecure: FC = () => (
  <section className={styles.insecure} aria-label={t("prejoin.insecureTitle")}>
    <h2 className={styles.insecureTitle}>{t("prejoin.insecureTitle")}</h2>
    <p>{t("prejoin.insecure")}</p>
    <CopyReport problem="insecure" />
  </section>
);

const WhatIsBehind: FC<{ door: Extract<Door, { name: "loading" | "open" }> }> = ({ door }) => {
  if (door.name === "loading") {
    return (
      <div className={styles.behind}>
        <h1 className={styles.title}>{t("prejoin.looking")}</h1>
        <p className={styles.who}>{t("prejoin.lookingHint")}</p>
      </div>
    );
  }
  const { invitation, hosted } = door;
  return (
    <div className={styles.behind}>
      <h1 className={styles.title}>{invitation?.title || t("prejoin.title")}</h1>
      <p className={styles.who}>{invitation ? whoIsInside(invitation.names, invitation.participants) : ""}</p>
      {invitation?.waitingRoom && !hosted && <p className={styles.who}>{t("prejoin.waitingRoom")}</p>}
      {hosted && (
        <div className={styles.invite}>
          <CopyInvitation path={hosted.invitation} />
        </div>
      )}
    </div>
  );
};

const JoinForm: FC<{ flow: Flow; entry: Entry; lobby: Lobby; preview: Preview }> = ({
  flow,
  entry,
  lobby,
  preview,
}) => {
  const fixed = entry.kind === "token" ? entry.name : undefined;
  const [name, setName] = useState(fixed ?? preferences.get().name);
  const [isMissing, setMissing] = useState(false);
  const joining = useStore(lobby.joining);
  const field = useRef<HTMLInputElement>(null);

  const submit = async (event: FormEvent) => {
    event.preventDefault();
    if (joining.name === "busy") return;
    const trimmed = name.trim();
    if (trimmed === "" && fixed === undefined) {
      setMissing(true);
      field.current?.focus();
      return;
    }
    flow.prepare();
    const token = await lobby.join(trimmed);
    if (token === undefined) return;
    const handed = preview.handOver();
    prefer({
      ...(fixed === undefined ? { name: trimmed } : {}),
      // What was switched, not what happened to work.
      microphoneOn: preview.wishes.microphone,
      cameraOn: preview.wishes.camera,
    });
    await flow.join(entry, { token, ...handed });
  };

  return (
    <form className={styles.join} onSubmit={(event) => void submit(event)} noValidate>
      {fixed === undefined ? (
        <TextField
          label={t("prejoin.name")}
          placeholder={t("prejoin.namePlaceholder")}
          value={name}
          onChange={(value) => {
            setName(value);
            setMissing(false);
          }}
          error={isMissing ? t("prejoin.nameMissing") : undefined}
          maxLength={MAX_NAME}
          autoComplete="name"
          autoFocus
          inputRef={field}
        />
      ) : (
        fixed !== "" && <p className={styles.who}>{t("prejoin.as", { name: fixed })}</p>
      )}
      {joining.name === "refused" && (
        <p className={styles.problem} role="alert">
          {joining.message}
        </p>
      )}
      <Button type="submit" tone="primary" size="large" wide>
        {joining.name === "busy" ? t("prejoin.joining") : t("prejoin.join")}
      </Button>
    </form>
  );
};

const Shut: FC<{
  door: Extract<Door, { name: "unknown" | "ended" | "offline" }>;
  onBack: () => void;
  onAgain: () => void;
}> = ({ door, onBack, onAgain }) => (
  <main className={styles.shut}>
    <Logo size={36} />
    <h1 className={styles.title}>
      {door.name === "ended" && door.title
        ? t("prejoin.endedTitle", { title: door.title })
        : t(SHUT[door.name].title)}
    </h1>
    <p className={styles.who}>{t(SHUT[door.name].text)}</p>
    <div className={styles.shutActions}>
      {door.name === "offline" && (
        <Button tone="primary" onPress={onAgain}>
          {t("common.tryAgain")}
        </Button>
      )}
      <Button tone={door.name === "offline" ? "plain" : "primary"} onPress={onBack}>
        {t("common.toStart")}
      </Button>
    </div>
  </main>
);

const SHUT = {
  unknown: { title: "prejoin.unknown", text: "prejoin.unknownText" },
  ended: { title: "prejoin.ended", text: "prejoin.endedText" },
  offline: { title: "prejoin.offline", text: "prejoin.offlineText" },
} as const;

function whoIsInside(names: readonly string[], count: number): string {
  if (count === 0) return t("prejoin.nobody");
  const rest = Math.max(0, count - names.length);
  if (names.length === 0) return t("prejoin.count", { count });
  return rest > 0
    ? t("prejoin.namesAndMore", { names: names.join(", "), count: rest })
    : t("prejoin.names", { names: list(names), count: names.length });
}

function list(names: readonly string[]): string {
  return new Intl.ListFormat(language(), { type: "conjunction" }).format(names);
}
