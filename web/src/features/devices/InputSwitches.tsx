import type { FC } from "react";
import { t } from "../../i18n";
import type { InputKind } from "../../services/devices/types";
import { RoundToggle } from "../../ui/Button";
import styles from "./InputSwitches.module.css";

interface InputSwitchesProps {
  states: Readonly<Record<InputKind, "off" | "starting" | "on" | "trouble">>;
  onToggle: (kind: InputKind) => void;
}

/** Microphone and camera, under the own picture of who is not in the meeting yet. */
export const InputSwitches: FC<InputSwitchesProps> = ({ states, onToggle }) => (
  <div className={styles.switches} role="toolbar" aria-label={t("prejoin.switches")}>
    {(["microphone", "camera"] as const).map((kind) => (
      <RoundToggle
        key={kind}
        label={t(`control.${kind}`)}
        tip={t(states[kind] === "on" ? `control.${kind}Off` : `control.${kind}On`)}
        on={kind}
        off={`${kind}Off`}
        isSelected={states[kind] === "on"}
        isBusy={states[kind] === "starting"}
        onChange={() => onToggle(kind)}
      />
    ))}
  </div>
);
