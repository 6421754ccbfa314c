import type { FC, ReactElement, ReactNode } from "react";
import {
  Menu as AriaMenu,
  MenuItem as AriaMenuItem,
  type MenuItemProps as AriaMenuItemProps,
  Header,
  MenuSection,
  MenuTrigger,
  Popover,
  Separator,
} from "react-aria-components";
import { Icon, type IconName } from "./Icon";
import styles from "./Menu.module.css";

interface MenuProps {
  label: string;
  trigger: ReactElement;
  children: ReactNode;
  placement?: "top" | "bottom end" | "top end" | "bottom start";
  onOpenChange?: (open: boolean) => void;
}

export const Menu: FC<MenuProps> = ({ label, trigger, children, placement = "bottom end", onOpenChange }) => (
  <MenuTrigger {...(onOpenChange ? { onOpenChange } : {})}>
    {trigger}
    <Popover className={styles.popover ?? ""} placement={placement} offset={6}>
      <AriaMenu className={styles.menu ?? ""} aria-label={label}>
        {children}
      </AriaMenu>
    </Popover>
  </MenuTrigger>
);

interface MenuItemProps extends Omit<AriaMenuItemProps, "className" | "children" | "style"> {
  icon?: IconName;
  tone?: "danger";
  /** Shows whether it holds at the moment. */
  checked?: boolean;
  children: string;
}

export const MenuItem: FC<MenuItemProps> = ({ icon, tone, checked, children, ...rest }) => (
  <AriaMenuItem {...rest} className={styles.item ?? ""} data-tone={tone} textValue={children}>
    {icon && <Icon name={icon} size={18} />}
    <span className={styles.text}>{children}</span>
    {checked && <Icon name="check" size={18} />}
  </AriaMenuItem>
);

export const MenuGroup: FC<{ title: string; children: ReactNode }> = ({ title, children }) => (
  <MenuSection className={styles.group ?? ""}>
    <Header className={styles.title ?? ""}>{title}</Header>
    {children}
  </MenuSection>
);

export const MenuLine: FC = () => <Separator className={styles.line ?? ""} />;
