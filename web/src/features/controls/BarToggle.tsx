import { type FC, useId } from "react";
import { ToggleButton } from "react-aria-components";
import { Icon, type IconName } from "../../ui/Icon";
import { Tip } from "../../ui/Tip";
import styles from "./ControlBar.module.css";

interface BarToggleProps {
  /** The name, which never changes; whether it is pressed says the rest. */
  label: string;
  /** What pressing does now. */
  tip: string;
  keys: string;
  icon: IconName;
  isSelected: boolean;
  isBusy?: boolean;
  isLocked?: boolean;
  /** "device": off is the state to notice. The others: on is. */
  tone: "device" | "active" | "hand" | "panel";
  count?: number;
  badge?: { readonly text: string; readonly label: string } | undefined;
  onChange: (on: boolean) => void;
}

export const BarToggle: FC<BarToggleProps> = ({
  label,
  tip,
  keys,
  icon,
  isSelected,
  isBusy = false,
  isLocked = false,
  tone,
  count,
  badge,
  onChange,
}) => {
  const id = useId();
  return (
    <span className={styles.place}>
      <Tip text={tip} keys={keys}>
        <ToggleButton
          className={styles.toggle ?? ""}
          aria-label={label}
          {...(badge ? { "aria-describedby": id } : {})}
          data-tone={tone}
          data-busy={isBusy}
          isSelected={isSelected}
          // Not disabled: it can be reached, and says why it does nothing.
          aria-disabled={isLocked}
          onChange={onChange}
        >
          <span className={styles.symbol}>
            <Icon name={isLocked ? "lock" : icon} size={24} />
          </span>
          <span className={styles.text}>{label}</span>
        </ToggleButton>
      </Tip>
      {/* Beside the button, so that its name stays what is written on it. */}
      {badge && (
        <>
          <span className={styles.badge} aria-hidden="true">
            {badge.text}
          </span>
          <span id={id} hidden>
            {badge.label}
          </span>
        </>
      )}
      {count !== undefined && !badge && (
        <span className={styles.count} aria-hidden="true">
          {count}
        </span>
      )}
    </span>
  );
};
