<?php

declare(strict_types=1);

namespace Drupal\cistern\Form;

use Drupal\Core\Form\ConfigFormBase;
use Drupal\Core\Form\FormStateInterface;

/**
 * How the status report examines the file store.
 */
class SettingsForm extends ConfigFormBase {

  /**
   * {@inheritdoc}
   */
  public function getFormId() {
    return 'cistern_settings';
  }

  /**
   * {@inheritdoc}
   */
  protected function getEditableConfigNames() {
    return ['cistern.settings'];
  }

  /**
   * {@inheritdoc}
   */
  public function buildForm(array $form, FormStateInterface $form_state) {
    $form['probe'] = [
      '#type' => 'checkbox',
      '#title' => $this->t('Write, read and delete a small file whenever the status report is shown'),
      '#config_target' => 'cistern.settings:probe',
    ];
    $form['forget_heads_after'] = [
      '#type' => 'number',
      '#title' => $this->t('Forget web heads after'),
      '#field_suffix' => $this->t('hours without a sign of life'),
      '#min' => 1,
      '#config_target' => 'cistern.settings:forget_heads_after',
    ];
    return parent::buildForm($form, $form_state);
  }

}
