import { type FC, type FormEvent, useEffect, useState } from "react";
import type { Flow, Screen } from "../../app/flow";
import { codeOf } from "../../app/route";
import { t } from "../../i18n";
import { Button } from "../../ui/Button";
import { Logo } from "../../ui/Icon";
import { TextField } from "../../ui/TextField";
import { useStore } from "../../ui/useStore";
import { SettingsButton } from "../settings/SettingsButton";
import { HostMeetings } from "./HostMeetings";
import styles from "./Landing.module.css";
import { Landing as Model } from "./model";
import { Seats } from "./Seats";

export const Landing: FC<{ flow: Flow; link: Extract<Screen, { name: "landing" }>["link"] }> = ({
  flow,
  link,
}) => {
  const [model] = useState(() => new Model(flow.services.api));
  useEffect(() => () => model.close(), [model]);
  const state = useStore(model.state);
  const problem = useStore(model.problem);

  return (
    <div className={styles.page}>
      <header className={styles.header}>
        <span className={styles.brand}>
          <Logo />
          {t("common.product")}
        </span>
        <span className={styles.tools}>
          {state.name === "host" && (
            <Button tone="quiet" onPress={() => void model.signOut()}>
              {t("landing.signOut")}
            </Button>
          )}
          <SettingsButton devices={flow.services.devices} />
        </span>
      </header>

      <main className={styles.main} data-state={state.name}>
        <section className={styles.intro}>
          <h1 className={styles.title}>{t("landing.title")}</h1>
          <p className={styles.lead}>{t("landing.lead")}</p>
          {link !== "none" && (
            <p className={styles.problem} role="alert">
              {t(link === "unknown" ? "landing.linkUnknown" : "landing.linkOffline")}
            </p>
          )}
          <JoinWithLink onJoin={(code) => flow.go(`/m/${code}`)} isPrimary={state.name === "guest"} />
          {state.name === "guest" && <p className={styles.hint}>{t("landing.hostHint")}</p>}
        </section>
        <section className={styles.side}>
          {problem !== "" && (
            <p className={styles.problem} role="alert">
              {problem}
            </p>
          )}
          {state.name === "host" && state.isStale && (
            <p className={styles.problem} role="status">
              {t("landing.stale")}
            </p>
          )}
          {state.name === "loading" && <p className={styles.hint}>{t("landing.loading")}</p>}
          {state.name === "offline" && (
            <div className={styles.offline} role="alert">
              <p>{t("landing.offline")}</p>
              <Button onPress={() => void model.load()}>{t("common.tryAgain")}</Button>
            </div>
          )}
          {state.name === "host" && (
            <HostMeetings model={model} meetings={state.meetings} onOpen={(path) => flow.go(path)} />
          )}
          {state.name === "guest" && <Seats />}
        </section>
      </main>
    </div>
  );
};

const JoinWithLink: FC<{ onJoin: (code: string) => void; isPrimary: boolean }> = ({ onJoin, isPrimary }) => {
  const [text, setText] = useState("");
  const [isWrong, setWrong] = useState(false);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    const code = codeOf(text);
    if (code) onJoin(code);
    else setWrong(true);
  };
  return (
    <form className={styles.join} onSubmit={submit} noValidate>
      <TextField
        label={t("landing.joinLabel")}
        placeholder={t("landing.joinPlaceholder")}
        value={text}
        onChange={(value) => {
          setText(value);
          setWrong(false);
        }}
        error={isWrong ? t("landing.joinWrong") : undefined}
        autoComplete="off"
        spellCheck="false"
      />
      <Button type="submit" tone={isPrimary ? "primary" : "plain"}>
        {t("landing.join")}
      </Button>
    </form>
  );
};
