import type { FC, ReactNode } from "react";
import { Switch as AriaSwitch, type SwitchProps as AriaSwitchProps } from "react-aria-components";
import styles from "./Switch.module.css";

interface SwitchProps extends Omit<AriaSwitchProps, "className" | "children" | "style"> {
  children: ReactNode;
  hint?: string;
}

export const Switch: FC<SwitchProps> = ({ children, hint, ...rest }) => (
  <AriaSwitch {...rest} className={styles.switch ?? ""}>
    <span className={styles.text}>
      {children}
      {hint && <span className={styles.hint}>{hint}</span>}
    </span>
    <span className={styles.track} aria-hidden="true" />
  </AriaSwitch>
);
