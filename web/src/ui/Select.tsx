import type { FC } from "react";
import {
  Button as AriaButton,
  Select as AriaSelect,
  ListBox,
  ListBoxItem,
  Popover,
  SelectValue,
} from "react-aria-components";
import { Icon, type IconName } from "./Icon";
import menu from "./Menu.module.css";
import styles from "./Select.module.css";

interface SelectProps {
  label: string;
  icon?: IconName;
  value: string;
  options: readonly { readonly id: string; readonly label: string }[];
  onChange: (id: string) => void;
}

export const Select: FC<SelectProps> = ({ label, icon, value, options, onChange }) => (
  <AriaSelect
    className={styles.select ?? ""}
    aria-label={label}
    value={value}
    onChange={(key) => key !== null && onChange(String(key))}
  >
    <AriaButton className={styles.button ?? ""}>
      {icon && <Icon name={icon} size={18} />}
      <SelectValue className={styles.value ?? ""} />
      <Icon name="down" size={16} />
    </AriaButton>
    <Popover className={menu.popover ?? ""} offset={4}>
      <ListBox className={menu.menu ?? ""} items={options}>
        {(option) => (
          <ListBoxItem id={option.id} textValue={option.label} className={menu.item ?? ""}>
            {({ isSelected }) => (
              <>
                <span className={menu.text}>{option.label}</span>
                {isSelected && <Icon name="check" size={18} />}
              </>
            )}
          </ListBoxItem>
        )}
      </ListBox>
    </Popover>
  </AriaSelect>
);
