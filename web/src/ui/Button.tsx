import type { FC, ReactNode, Ref } from "react";
import {
  Button as AriaButton,
  type ButtonProps as AriaButtonProps,
  ToggleButton as AriaToggleButton,
  type ToggleButtonProps,
} from "react-aria-components";
import styles from "./Button.module.css";
import { Icon, type IconName } from "./Icon";
import { Tip } from "./Tip";

interface ButtonProps extends Omit<AriaButtonProps, "className" | "children" | "style"> {
  tone?: "primary" | "plain" | "quiet" | "danger";
  size?: "small" | "large";
  icon?: IconName;
  /** Takes the whole width. */
  wide?: boolean;
  children: ReactNode;
  ref?: Ref<HTMLButtonElement>;
}

/** A button with words. One of tone "primary" a screen. */
export const Button: FC<ButtonProps> = ({ tone = "plain", size, icon, wide, children, ...rest }) => (
  <AriaButton {...rest} className={styles.button ?? ""} data-tone={tone} data-size={size} data-wide={wide}>
    {icon && <Icon name={icon} size={18} />}
    <span>{children}</span>
  </AriaButton>
);

interface IconButtonProps extends Omit<AriaButtonProps, "className" | "children" | "style"> {
  label: string;
  icon: IconName;
  size?: "small" | "large";
  ref?: Ref<HTMLButtonElement>;
}

/** A button whose words are in its tip. */
export const IconButton: FC<IconButtonProps> = ({ label, icon, size, ...rest }) => (
  <Tip text={label}>
    <AriaButton {...rest} aria-label={label} className={styles.icon ?? ""} data-size={size}>
      <Icon name={icon} />
    </AriaButton>
  </Tip>
);

interface SwitchButtonProps extends Omit<ToggleButtonProps, "className" | "children" | "style"> {
  /** Stays the same: what changes is whether it is pressed. */
  label: string;
  on: IconName;
  off: IconName;
  tip: string;
  /** It is on its way; pressing takes the wish back. */
  isBusy?: boolean;
}

/** A round button that is pressed or not, as on the preview before joining. */
export const RoundToggle: FC<SwitchButtonProps> = ({ label, on, off, tip, isBusy, ...rest }) => (
  <Tip text={tip}>
    <AriaToggleButton {...rest} aria-label={label} className={styles.round ?? ""} data-busy={isBusy}>
      {({ isSelected }) => <Icon name={isSelected ? on : off} size={22} />}
    </AriaToggleButton>
  </Tip>
);
